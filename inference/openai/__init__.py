"""`/v1`: the OpenAI API in front of every provider, for programs with a personal token.

Pure ASGI, beside Django and its middleware (decision 13): `app` is the door, `asks` reads a
request, `choose` finds who answers it, `turn_rows` keeps its row, `forward` moves the bytes,
`outcome` counts them.
"""
