import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Plugin } from 'vite';

interface PackageFacts {
  name: string;
  repository?: string | { url: string };
  homepage?: string;
}

/** Links to where the project is: those that the command line's package.json knows, and the paper. */
export function projectLinks(): Plugin {
  const file = fileURLToPath(new URL('../../cli/package.json', import.meta.url));
  return {
    name: 'project-links',
    transformIndexHtml: (page) =>
      page.replace('<!-- project links -->', linksOf(JSON.parse(readFileSync(file, 'utf8')))),
  };
}

function linksOf({ name, repository, homepage }: PackageFacts): string {
  const source = (typeof repository === 'string' ? repository : repository?.url)?.replace(/^git\+|\.git$/g, '');
  const links: [text: string, address: string | undefined][] = [
    ['README', homepage ?? (source && `${source}#readme`)],
    ['Source', source],
    // Whoever states where the source is publishes from there.
    ['npm', source && `https://www.npmjs.com/package/${name}`],
    ['Paper', 'https://arxiv.org/abs/2406.07056'],
  ];
  return links
    .flatMap(([text, address]) => (address ? [`<a href="${address}" rel="noopener">${text}</a>`] : []))
    .join('\n          ');
}
