"""From grey levels to line masks with a confidence: band by band, over any source, into any sink."""
