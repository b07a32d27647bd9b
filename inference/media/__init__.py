"""Pictures, speech and embeddings: what a person makes with a service that is no chat.

A request for pictures or embeddings is a conversation of one turn, a transcript one with a turn per
piece of the recording; so keys, owners, deletion, costs, signatures and the log are those of the
chat.
"""
