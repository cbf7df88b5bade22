import { stripControlCharacters } from './format/format.ts';

/** Markup that is already escaped. Only `element` and `styleElement` make it, so plain strings can never pass for it. */
export class Markup {
  readonly source: string;

  constructor(source: string) {
    this.source = source;
  }

  toString(): string {
    return this.source;
  }
}

export type Child = Markup | string | number | undefined | readonly Child[];
type Attributes = Record<string, string | number | undefined>;

/** Elements that HTML allows to have no end tag. Everything else gets one, so the result is HTML and XML at once. */
const voidElements = new Set(['br', 'col', 'hr', 'link', 'meta']);

const references: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** Text with the five characters of markup escaped and control characters taken out: safe in content and attributes. */
function escapeMarkup(text: string): string {
  return stripControlCharacters(text).replace(/[&<>"']/g, (character) => references[character]!);
}

function render(child: Child): string {
  if (child === undefined) return '';
  if (child instanceof Markup) return child.source;
  if (typeof child === 'object') return child.map(render).join('');
  return escapeMarkup(String(child));
}

/** Coordinates to a hundredth of a pixel: what can be seen, without long tails of digits. */
function attributeText(value: string | number): string {
  return typeof value === 'number' ? String(Math.round(value * 100) / 100) : escapeMarkup(value);
}

/**
 * One element of HTML or SVG. Strings among the children and all attribute values are escaped; undefined ones are left
 * out. Names of elements and attributes are the caller's own, never data.
 */
export function element(name: string, attributes: Attributes = {}, ...children: Child[]): Markup {
  const written = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${attributeText(value!)}"`)
    .join('');
  if (voidElements.has(name)) return new Markup(`<${name}${written}/>`);
  return new Markup(`<${name}${written}>${render(children)}</${name}>`);
}

/** A style element around CSS of kvlr's own; it may not hold `<` or `&`, which HTML and XML read differently there. */
export function styleElement(css: string): Markup {
  return new Markup(`<style>${css.replace(/[<&]/g, '')}</style>`);
}
