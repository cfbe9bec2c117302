"""The limiter on Redis, part by part. `proxy/adapters/counters.py` joins them to the port `Counters`.

link              one connection, pipelined, lean
scripts, *.lua    the steps that Redis does atomically, and how attempts are laid out for them
store             the connection, Redis's clock, the breaker
reserves          reservations on their way: one round trip for a tick of the loop
settles           settles on their way: in order, repeated until Redis has them
attempts          what is under way here: holds renewed, published again when Redis lost them
epochs            is Redis's copy whole? the monitor
rebuild           set counters from Postgres
charges           what Postgres knows of spend: the port; postgres_charges: the same on asyncpg
reconcile         Redis against Postgres, all the time
memory            what this worker remembers without Redis
upkeep            what goes on by itself
"""
