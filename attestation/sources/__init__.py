"""What a verdict needs from outside services: found out, fetched, kept, handed to the engine.

    needs      evidence -> which documents (pure)
    records    one answer of a service, the cache it is kept in, and where the services are
    fetch      one request, patiently: limits, retries, the answer's time
    obtain     cache first, then the service; a failure is a note
    pcs rim ocsp nras     what to ask each service, and when its answer is usable
    collect    all of it for one piece of evidence

A document that is missing, expired or not signed as it should be is left out, so that rows say
not_checked: never green, and never red for what is our gap (attestation.md 5).
"""
