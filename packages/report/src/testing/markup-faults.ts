import { DOMParser, type Document, type Element } from '@xmldom/xmldom';

/** Parses as XML; every warning is an error but the one about U+FFFD, which stands in for what XML cannot hold. */
export function parseMarkup(source: string): Document {
  const parser = new DOMParser({
    onError: (level, message) => {
      if (level !== 'warning' || !message.includes('replacement character')) throw new Error(`${level}: ${message}`);
    },
  });
  return parser.parseFromString(source, 'text/xml');
}

/** All elements of a name, or all with '*'. */
export function elements(document: Document, name: string): Element[] {
  return Array.from(document.getElementsByTagName(name));
}

/** What a page may not do: run scripts, load from elsewhere, repeat an id, point to an id that is not there. */
export function findFaults(source: string): string[] {
  const document = parseMarkup(source);
  const faults: string[] = [];
  const ids = new Set<string>();
  for (const node of elements(document, '*')) {
    if (
      ['script', 'iframe', 'img', 'link', 'object', 'embed', 'image', 'use', 'foreignObject'].includes(node.tagName)
    ) {
      faults.push(`element ${node.tagName}`);
    }
    for (const attribute of Array.from(node.attributes)) {
      // A file beside the page is a place to go to, and nothing that is loaded.
      const leadsBeside = attribute.name === 'href' && node.tagName === 'a' && /^[\w-]+\.[a-z]+$/.test(attribute.value);
      if (/^on|^(src|href|style|srcset|action|xlink:href)$/i.test(attribute.name) && !leadsBeside)
        faults.push(`attribute ${attribute.name}`);
    }
    const id = node.getAttribute('id');
    if (id && ids.has(id)) faults.push(`repeated id ${id}`);
    if (id) ids.add(id);
  }
  for (const node of elements(document, '*')) {
    for (const id of (node.getAttribute('aria-labelledby') ?? '').split(' ')) {
      if (id && !ids.has(id)) faults.push(`aria-labelledby without target ${id}`);
    }
  }
  for (const style of elements(document, 'style')) {
    if (/url\(|@import|expression\(/i.test(style.textContent ?? '')) faults.push('style loads a resource');
  }
  return faults;
}

/** Coordinates and path data that are not numbers. */
export function findBrokenNumbers(source: string): string[] {
  return elements(parseMarkup(source), '*').flatMap((node) =>
    Array.from(node.attributes)
      .filter((attribute) =>
        ['d', 'x', 'y', 'x1', 'x2', 'y1', 'y2', 'cx', 'cy', 'viewBox', 'transform'].includes(attribute.name),
      )
      .filter((attribute) => /NaN|Infinity|undefined/.test(attribute.value))
      .map((attribute) => `${node.tagName} ${attribute.name}=${attribute.value}`),
  );
}

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
