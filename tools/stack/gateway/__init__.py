"""A strict gateway with Apache Polaris' rules in front of the Iceberg REST fixture; for tests, on loopback.

It stands in for a Polaris server where none can be started: the fixture decides commits, the gateway adds what
Polaris demands of its clients (OAuth2 with scopes, realm, prefix, namespace separator, access delegation,
locations, names, privileges, limits; rules as of Polaris 1.7) and, on demand, faults at exact places.
It vends no credentials and knows no views, policies or federated catalogs.
"""
