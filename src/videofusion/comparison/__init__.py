"""Systems trained and measured side by side: `videofusion compare`."""
