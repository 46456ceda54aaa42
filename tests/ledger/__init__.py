"""Does the server keep what it acknowledged? Clients write down what they hear, the server is killed, and then we look.

`client` is one client process with its ledger, `cluster` a PostgreSQL that can be crashed, `power` a power cut under
SQLite, `proxy` a bad network, `campaign` all of it under load, `audit` the comparison, `planted` a server with a bug
put in on purpose, which the same audit has to find, `chaos` the tables.
"""
