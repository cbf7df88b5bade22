import { budgetPolicies, compressionMethods, groupingStrategies } from '@kvlr/pipeline';
import { Argument, type Command } from 'commander';
import { recipeNames } from '../inputs/recipes.ts';
import { completionScript, type Shell } from '../terminal/completion.ts';
import type { CommandContext } from '../terminal/terminal.ts';

const afterHelp = `
Examples:
  source <(kvlr completion bash)                                     in this shell; a line for ~/.bashrc
  source <(kvlr completion zsh)                                      the same in zsh, behind compinit
  kvlr completion fish > ~/.config/fish/completions/kvlr.fish`;

export function define(command: Command, context: CommandContext): void {
  command
    .addArgument(new Argument('<shell>', 'the shell that reads it').choices(['bash', 'zsh', 'fish'] satisfies Shell[]))
    .addHelpText('after', afterHelp)
    .action((shell: Shell) => {
      const methods = compressionMethods.names;
      const script = completionScript(shell, command.parent!, {
        '--method': methods,
        '--methods': methods,
        '--keys': methods,
        '--values': methods,
        '--grouping': groupingStrategies.names,
        '--budget': budgetPolicies.names,
        '--recipe': recipeNames(),
      });
      context.print(script.trimEnd());
      context.printJson({ shell, script });
    });
}
