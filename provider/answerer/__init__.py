"""A stand-in for a language model that makes nothing up: it finds passages of this project's own
documentation and quotes them, with their source, over the OpenAI chat API."""
