"""Conversations over the network: the Realtime protocol and a page to talk to, on one port."""
