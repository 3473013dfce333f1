"""What differs between the gateways that the sandbox plays, for tests that run against each of them."""

FACES = ("openai", "litellm", "openrouter", "inworld")
"""All but the default one, which every other test runs against."""
MODELS = {
    "openai": "veo-3.1-fast-generate-001",
    "litellm": "veo-3.1-fast-generate-001",
    "openrouter": "google/veo-3.1-fast",
    "inworld": "google/veo-3.1-fast",
}
"""A model of each, which costs ten cents a second at 720p."""
USD = 0.40
"""The price of a video of four seconds."""


def authorization(sandbox):
    """Return the header that carries the key, in the gateway's own scheme."""
    scheme = "Basic" if sandbox.gateway == "inworld" else "Bearer"
    return {"Authorization": f"{scheme} {sandbox.api_key}"}
