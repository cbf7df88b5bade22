import { posix } from 'node:path';
import { defineConfig } from 'vitepress';

const REPOSITORY = 'https://github.com/kvlr-js/kvlr';

/** Links out of docs/ work in the repository; on the site they lead there. */
function repositoryLink(href: string, page: string): string {
  if (!/^\.{1,2}\//.test(href)) return href;
  const path = posix.join('docs', posix.dirname(page), href);
  return path.startsWith('docs/') ? href : `${REPOSITORY}/blob/main/${path}`;
}

export default defineConfig({
  title: 'kvlr',
  description: 'Fewer KV heads for language models that you have',
  lastUpdated: false,
  head: [['link', { rel: 'icon', href: 'data:,' }]],
  markdown: {
    config: (markdown) => {
      // Indented blocks are commands: shown as fenced ones are, which scroll by themselves and can be copied.
      markdown.renderer.rules.code_block = (tokens, index, options, environment, self) => {
        tokens[index]!.info = 'sh';
        return markdown.renderer.rules.fence!(tokens, index, options, environment, self);
      };
      const render = markdown.renderer.rules.link_open!;
      markdown.renderer.rules.link_open = (tokens, index, options, environment, self) => {
        const token = tokens[index]!;
        const href = token.attrGet('href');
        if (href) token.attrSet('href', repositoryLink(href, environment.relativePath));
        return render(tokens, index, options, environment, self);
      };
    },
  },
  themeConfig: {
    search: { provider: 'local' },
    socialLinks: [{ icon: 'github', link: REPOSITORY }],
    nav: [
      { text: 'Tutorial', link: '/tutorial' },
      { text: 'Guides', link: '/guides/install' },
      { text: 'Method', link: '/method' },
      { text: 'Measurements', link: '/reproduction' },
      { text: 'API', link: '/api/index.html', target: '_self' },
    ],
    sidebar: [
      {
        text: 'Start',
        items: [
          { text: 'Install', link: '/guides/install' },
          { text: 'Tutorial', link: '/tutorial' },
        ],
      },
      {
        text: 'Guides',
        items: [
          { text: 'Heads and bits', link: '/guides/heads-and-bits' },
          { text: 'Recovery', link: '/guides/recovery' },
          { text: 'Long contexts', link: '/guides/long-contexts' },
          { text: 'A grouping of your own', link: '/guides/own-grouping' },
          { text: 'A cache codec of your own', link: '/guides/own-cache-codec' },
          { text: 'In the browser, with Vite', link: '/guides/browser' },
          { text: 'Large models, several machines', link: '/scale' },
        ],
      },
      {
        text: 'How and why',
        items: [
          { text: 'The method', link: '/method' },
          { text: 'Model families', link: '/families' },
          { text: 'Architecture of the code', link: '/architecture' },
        ],
      },
      {
        text: 'Measurements',
        items: [
          { text: 'The paper beside kvlr', link: '/reproduction' },
          { text: 'Heads and bits at equal bytes', link: '/frontier' },
          { text: 'Other models, measured', link: '/real-model' },
          { text: 'Methods at every ratio', link: '/comparison' },
          { text: 'The same on a second model', link: '/comparison-docs-30m' },
          { text: 'What a smaller cache forgets', link: '/long-context' },
          { text: 'What training gives back', link: '/ablation' },
          { text: 'Starting points', link: '/initialisations' },
          { text: 'Groupings', link: '/groupings' },
          { text: 'Budgets', link: '/budgets' },
          { text: 'Log', link: '/log' },
        ],
      },
    ],
  },
});
