"""Does the server keep what it acknowledged? Clients write down what they hear, the server is killed, and then we look.

`client` is one client process with its ledger, `cluster` a PostgreSQL that can be crashed, `campaign` the kills,
`audit` the comparison, `planted` a server with a bug put in on purpose, which the same audit has to find.
"""
