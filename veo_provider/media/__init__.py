"""Files that are looked into: images before they are sent, videos while they are stored."""
