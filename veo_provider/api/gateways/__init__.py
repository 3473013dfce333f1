"""The gateways: each one is a piece of data, see :mod:`veo_provider.api.gateways.gateway`."""
