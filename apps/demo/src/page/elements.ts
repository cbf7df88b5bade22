/** The element that a selector finds, of the class that is expected. A miss is a mistake in index.html. */
export function requireElement<Expected extends Element>(
  selector: string,
  expected: new () => Expected,
  root: ParentNode = document,
): Expected {
  const found = root.querySelector(selector);
  if (found instanceof expected) return found;
  throw new Error(`expected ${expected.name} at ${selector}, got ${found?.tagName ?? 'nothing'}`);
}

/** Any HTML element that a selector finds. */
export function element(selector: string, root?: ParentNode): HTMLElement {
  return requireElement(selector, HTMLElement, root);
}

export function setText(selector: string, text: string, root?: ParentNode): void {
  const found = element(selector, root);
  // Writing the same text anew would be read out again.
  if (found.textContent !== text) found.textContent = text;
}

export type Attributes = Readonly<Record<string, string | number>>;

/** A new HTML element with attributes, holding texts and elements. */
export function html<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/** A new SVG element. */
export function svg(tag: string, attributes: Attributes = {}, ...children: (Node | string)[]): SVGElement {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/** Draws into a place now and whenever its width changes, at the width it has: text in drawings keeps its size. */
export class Drawing {
  readonly #place: HTMLElement;
  #draw: ((width: number) => Element) | undefined;

  constructor(place: HTMLElement) {
    this.#place = place;
    let width = 0;
    new ResizeObserver(() => {
      if (place.clientWidth === width) return;
      width = place.clientWidth;
      this.#redraw();
    }).observe(place);
  }

  show(draw: (width: number) => Element): void {
    this.#draw = draw;
    this.#redraw();
  }

  #redraw(): void {
    const width = this.#place.clientWidth;
    if (this.#draw && width > 0) this.#place.replaceChildren(this.#draw(width));
  }
}
