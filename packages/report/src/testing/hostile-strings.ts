/** Names that try to leave their place in HTML, SVG, Markdown, YAML or a terminal. */
export const hostileStrings = [
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(1)>',
  "' onload='alert(1)",
  '</style><script>alert(1)</script>',
  '&lt;b&gt; & ]]>',
  'a | b\n| c | d |',
  '[x](https://example.org) ![y](z) `code` *bold* _it_ $m$',
  '\u001b[31mred\u0007\u009b2J',
  'zero \u0000 byte, \ud800 half, \uffff none',
  '---\nlicense: mit\n---',
];
