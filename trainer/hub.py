"""Whether the Hugging Face hub can be reached. Knows the network alone, and no model."""

from __future__ import annotations

NETWORK_SECONDS = 5


def hub_answers() -> bool:
    """Return whether the hub answers within seconds; the libraries would try again for minutes."""
    import huggingface_hub

    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return False
    try:
        huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=NETWORK_SECONDS)
    except Exception:  # each HTTP library has its own; whatever it is, there is no answer
        return False
    return True
