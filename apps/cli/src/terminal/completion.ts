import type { Command, Option } from 'commander';

export type Shell = 'bash' | 'zsh' | 'fish';

/** What a word on the command line may be followed by. */
interface CompletedOption {
  /** --keep, -o. */
  names: string[];
  description: string;
  /** It is followed by a value. */
  takesValue: boolean;
  /** The values, where they have names. Others are completed as files. */
  values: readonly string[];
}

interface CompletedCommand {
  name: string;
  description: string;
  options: CompletedOption[];
  /** What stands behind the command, where it has names. */
  values: readonly string[];
}

/** Names that options take besides those which commander knows, by the option: `--method`. */
export type NamedValues = Readonly<Record<string, readonly string[]>>;

/** A script that makes the shell complete the program: its commands, which have to be defined, their options and values. */
export function completionScript(shell: Shell, program: Command, named: NamedValues): string {
  const commands = program.commands.map((command) => ({
    name: command.name(),
    description: command.description(),
    options: [...command.options, ...program.options].map((option) => completedOption(option, named)).concat(help),
    values: command.registeredArguments.flatMap((argument) => argument.argChoices ?? []),
  }));
  return { bash, zsh, fish }[shell](commands);
}

const help: CompletedOption = { names: ['--help', '-h'], description: 'display help', takesValue: false, values: [] };

function completedOption(option: Option, named: NamedValues): CompletedOption {
  return {
    names: [option.long, option.short].filter((name) => name !== undefined && name !== null),
    description: option.description,
    takesValue: option.required || option.optional,
    values: option.argChoices ?? named[option.long ?? ''] ?? [],
  };
}

/** bash 3.2 and later, which macOS has. */
function bash(commands: readonly CompletedCommand[]): string {
  const cases = commands.flatMap(({ name, options, values }) => [
    ...options
      .filter((option) => option.takesValue)
      .map((option) => `    ${patterns(name, option)}) ${words(option.values)} ;;`),
    `    ${name}:*) if [[ $cur == -* ]]; then ${words(options.flatMap((option) => option.names))}; else ${words(values)}; fi ;;`,
  ]);
  return `# kvlr completion bash > ~/.local/share/bash-completion/completions/kvlr
_kvlr() {
  local cur=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command=\${COMP_WORDS[1]}
  COMPREPLY=()
  if [[ $COMP_CWORD -eq 1 ]]; then
    ${words([...commands.map(({ name }) => name), '--help', '--version'])}
    return
  fi
  case "$command:$previous" in
${cases.join('\n')}
  esac
}
complete -o bashdefault -o default -F _kvlr kvlr
`;
}

const patterns = (command: string, { names }: CompletedOption) => names.map((name) => `${command}:${name}`).join('|');

/** Offers words; none leaves the shell to offer files. */
const words = (values: readonly string[]) =>
  values.length === 0 ? ':' : `COMPREPLY=($(compgen -W ${quoted(values.join(' '))} -- "$cur"))`;

function zsh(commands: readonly CompletedCommand[]): string {
  const names = commands.map(({ name, description }) => `    ${quoted(`${name}:${description}`)}`);
  const cases = commands.map(
    ({ name, options, values }) =>
      `    ${name}) _arguments ${options.map(zshOption).join(' ')} ${quoted(`*:file:${zshValues(values)}`)} ;;`,
  );
  return `#compdef kvlr
# kvlr completion zsh > a directory of $fpath, as _kvlr; or: source <(kvlr completion zsh)
_kvlr() {
  local -a commands=(
${names.join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
${cases.join('\n')}
  esac
}
if [[ $funcstack[1] == _kvlr ]]; then _kvlr "$@"; else compdef _kvlr kvlr; fi
`;
}

const zshOption = ({ names, description, takesValue, values }: CompletedOption) =>
  names
    .map((name) => {
      const explained = `${name}[${description.replaceAll(/[[\]\\:]/g, '\\$&')}]`;
      return quoted(takesValue ? `*${explained}:value:${zshValues(values)}` : explained);
    })
    .join(' ');

const zshValues = (values: readonly string[]) => (values.length === 0 ? '_files' : `(${values.join(' ')})`);

function fish(commands: readonly CompletedCommand[]): string {
  const names = commands.map(
    ({ name, description }) => `complete -c kvlr -n __fish_use_subcommand -f -a ${name} -d ${quoted(description)}`,
  );
  const options = commands.flatMap(({ name, options, values }) => {
    const inside = `complete -c kvlr -n '__fish_seen_subcommand_from ${name}'`;
    const lines = options.map((option) => `${inside} ${fishOption(option)}`);
    return values.length === 0 ? lines : [...lines, `${inside} -f -a ${quoted(values.join(' '))}`];
  });
  return `# kvlr completion fish > ~/.config/fish/completions/kvlr.fish\n${[...names, ...options].join('\n')}\n`;
}

function fishOption({ names, description, takesValue, values }: CompletedOption): string {
  const spelled = names.map((name) => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
  const value = takesValue ? (values.length === 0 ? ['-r'] : ['-x', '-a', quoted(values.join(' '))]) : [];
  return [...spelled, ...value, '-d', quoted(description)].join(' ');
}

/** In single quotes, as every shell reads them. */
const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
