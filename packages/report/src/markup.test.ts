import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { stripControlCharacters } from './format/format.ts';
import { element, styleElement } from './markup.ts';
import { hostileStrings, parseMarkup } from './testing/markup-faults.ts';

describe('element', () => {
  it('gives back any text and attribute through an XML parser', () => {
    const anyText = fc.oneof(fc.constantFrom(...hostileStrings), fc.string({ unit: 'binary' }), fc.string());
    fc.assert(
      fc.property(anyText, anyText, (content, attribute) => {
        const parsed = parseMarkup(element('p', { title: attribute }, content).source).documentElement;
        expect(parsed?.textContent).toBe(stripControlCharacters(content));
        expect(parsed?.getAttribute('title')).toBe(stripControlCharacters(attribute));
      }),
    );
  });

  it('nests markup without escaping it twice and leaves out what is undefined', () => {
    const inner = element('b', { class: undefined }, 'a & b');
    expect(element('p', {}, [inner, undefined, 3]).source).toBe('<p><b>a &amp; b</b>3</p>');
  });

  it('rounds coordinates and closes void elements', () => {
    expect(element('rect', { x: 1 / 3 }).source).toBe('<rect x="0.33"></rect>');
    expect(element('meta', { charset: 'utf-8' }).source).toBe('<meta charset="utf-8"/>');
  });

  it('keeps a style element from ending early', () => {
    expect(parseMarkup(styleElement('a{}</style><p>').source).documentElement?.tagName).toBe('style');
  });
});
