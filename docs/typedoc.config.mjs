import { Converter } from 'typedoc';

/** Modules are called as they are imported: packages/checkpoint/src/node is @kvlr/checkpoint/node. */
function packageNames(application) {
  application.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const module of project.children ?? []) module.name = `@kvlr/${module.name.replace(/^packages\/|\/src/g, '')}`;
  });
}

/** The API reference, into the folder that VitePress copies as it is. */
export default {
  name: 'kvlr',
  plugin: [packageNames],
  entryPoints: ['../packages/*/src/index.ts', '../packages/*/src/node.ts'],
  exclude: ['../packages/testkit/**'],
  tsconfig: '../tsconfig.json',
  out: 'public/api',
  readme: 'none',
  // Types are checked by npm test; names that are not exported are written out as they stand.
  skipErrorChecking: true,
  validation: false,
  excludePrivate: true,
  disableGit: true,
  sourceLinkTemplate: 'https://github.com/kvlr-js/kvlr/blob/main/packages/{path}#L{line}',
  navigationLinks: { Documentation: '../' },
};
