"""Who owns an upstream object, on Redis. `proxy/adapters/objects.py` is what the gateway uses of it.

names             what is remembered of an object, and what it is called in Redis
waiting           what Redis does not have yet: in order, repeated until it does
marks             does Redis have all of an account's objects? the mark that says so, and the steps around it
restore           tell Redis again what Postgres knows
postgres_objects  what Postgres knows of objects: the port, and the same on asyncpg
"""
