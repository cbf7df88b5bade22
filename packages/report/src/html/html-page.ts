import { type Child, element, styleElement } from '../markup/element.ts';
import { plotStyle } from '../plots/plot-style.ts';
import { pageStyle } from './page-style.ts';

/** One self-contained page: no scripts, nothing loaded from elsewhere, well-formed as XML too. */
export function htmlPage(page: { title: string; description: string; lead: Child; body: Child }): string {
  const document = element(
    'html',
    { lang: 'en' },
    element(
      'head',
      {},
      element('meta', { charset: 'utf-8' }),
      element('meta', { name: 'viewport', content: 'width=device-width, initial-scale=1' }),
      element('meta', { name: 'color-scheme', content: 'light dark' }),
      element('meta', { name: 'description', content: page.description }),
      element('title', {}, page.title),
      styleElement(pageStyle() + plotStyle()),
    ),
    element(
      'body',
      {},
      element('header', {}, element('h1', {}, page.title), page.lead),
      element('main', {}, page.body),
      element(
        'footer',
        {},
        element('p', {}, 'Made by kvlr. Hover over or inspect a rounded size for its exact bytes.'),
      ),
    ),
  );
  return `<!DOCTYPE html>\n${document.source}\n`;
}

/** A section with its heading. */
export function htmlSection(heading: string, ...children: Child[]): Child {
  return element('section', {}, element('h2', {}, heading), children);
}

/** Sentences that a reader has to know, set apart. */
export function htmlNotes(notes: readonly string[] | undefined): Child {
  return (notes ?? []).map((note) => element('p', { class: 'note' }, note));
}
