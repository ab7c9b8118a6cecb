"""The built-in domain: moving digits, drawn, captioned, judged and measured."""
