"""Private TimescaleDB and Mosquitto for a checkout, and a Chromium for browser tests.

`local.ensure` is the door: it finds the servers on this machine or unpacks them into a private folder, starts them, and
says where they are.
"""
