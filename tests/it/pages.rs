//! Pages: what they say, and that anybody can use them. STYLE §8; WCAG 2.2.
