import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja';
import { timeBudget, withinTime } from '@kvlr/checkpoint';
import { KvlrError } from '@kvlr/core';

/** One row of a task's data. */
export type TaskDocument = Readonly<Record<string, unknown>>;

type Program = ReturnType<typeof parse>;

interface ParsedTemplate {
  program: Program;
  /** Variables that the document has to bring: others would be rendered as nothing. */
  variables: readonly string[];
}

/** Templates by their source: a task renders the same few for every document. */
const templates = new Map<string, ParsedTemplate>();

/**
 * Renders a template of Jinja as lm-evaluation-harness does: blocks keep their line breaks, a last line break stays, `list.index(value)`
 * works as in Python, and a variable that the document does not have is an error.
 *
 * @throws KvlrError 'file-malformed' for what is no template, or fits the document not at all.
 */
export function renderTemplate(source: string, document: TaskDocument): string {
  return run(source, document, (interpreter, program) => String(interpreter.run(program).value));
}

/**
 * The value of a template that is one expression, `{{ [a, b] }}`, as it is and not as text; of any other template its text. Where the
 * harness makes text of Python and reads it back, this gives the same value.
 */
export function evaluateTemplate(source: string, document: TaskDocument): unknown {
  return run(source, document, (interpreter, program, environment) => {
    const [only] = program.body;
    if (program.body.length !== 1 || only === undefined || isStatement(only)) {
      return String(interpreter.run(program).value);
    }
    return toPlain(interpreter.evaluate(only, environment));
  });
}

const statementTypes = new Set(['If', 'For', 'Set', 'Macro', 'Comment', 'CallStatement', 'FilterStatement']);
const isStatement = ({ type }: { type: string }) => statementTypes.has(type);

type Work<Value> = (interpreter: Interpreter, program: Program, environment: Environment) => Value;

function run<Value>(source: string, document: TaskDocument, work: Work<Value>): Value {
  try {
    return withinTime(timeBudget(source.length + JSON.stringify(document).length), { argument: source }, () => {
      const { program, variables } = parseTemplate(source);
      const missing = variables.find((name) => !Object.hasOwn(document, name));
      if (missing !== undefined) throw new Error(`no column ${missing}`);
      const environment = new Environment();
      for (const [name, value] of Object.entries(constants)) environment.set(name, value);
      for (const [name, value] of Object.entries(document)) environment.set(name, value);
      environment.set(indexName, indexOf);
      return work(new Interpreter(environment), program, environment);
    });
  } catch (cause) {
    if (KvlrError.isInstance(cause)) throw cause;
    throw new KvlrError('file-malformed', {
      message: `expected a template that fits the document, got: ${cause instanceof Error ? cause.message : String(cause)}`,
      hint: `Check the template ${JSON.stringify(source)} against the columns ${Object.keys(document).join(', ')}.`,
      data: { template: source, columns: Object.keys(document) },
      cause,
    });
  }
}

const constants = { true: true, false: false, none: null, True: true, False: false, None: null };

function parseTemplate(source: string): ParsedTemplate {
  let template = templates.get(source);
  if (template === undefined) {
    // The tokenizer takes one line break from the end, as Jinja does by default and the harness does not.
    const program = parse(tokenize(source.endsWith('\n') ? `${source}\n` : source));
    const variables = variablesOf(program);
    rewriteIndexCalls(program);
    template = { program, variables };
    templates.set(source, template);
  }
  return template;
}

/** Not a name that a column can have. */
const indexName = 'index of';

/** Lists come with the library's own values in them, texts and numbers as they are. */
const indexOf = (list: unknown, value: unknown): number => {
  const values = Array.isArray(list) ? list.map(toPlain) : String(list);
  const index = Array.isArray(values) ? values.indexOf(value) : values.indexOf(String(value));
  if (index === -1) throw new Error(`${JSON.stringify(value)} is not in ${JSON.stringify(values)}`);
  return index;
};

interface SyntaxNode {
  type?: string;
  [field: string]: unknown;
}

function visit(node: unknown, see: (node: SyntaxNode) => void): void {
  if (Array.isArray(node)) for (const part of node) visit(part, see);
  else if (typeof node === 'object' && node !== null) {
    see(node as SyntaxNode);
    for (const part of node instanceof Map ? node : Object.values(node)) visit(part, see);
  }
}

/** `list.index(value)` becomes a call of a function: the library's lists have no such method. */
function rewriteIndexCalls(program: Program): void {
  visit(program, (node) => {
    const callee = node.callee as SyntaxNode | undefined;
    if (node.type !== 'CallExpression' || callee?.type !== 'MemberExpression') return;
    const property = callee.property as SyntaxNode;
    if (callee.computed === true || property.value !== 'index') return;
    node.args = [callee.object, ...(node.args as unknown[])];
    node.callee = { ...property, type: 'Identifier', value: indexName };
  });
}

/** Variables that a template uses and does not bring itself. */
function variablesOf(program: Program): string[] {
  const brought = new Set([...Object.keys(constants), 'loop']);
  const used = new Set<string>();
  /** Names that stand behind a dot, a pipe or `is`, or before `=`. */
  const attributes = new Set<unknown>();
  visit(program, (node) => {
    if (node.type === 'MemberExpression' && node.computed !== true) attributes.add(node.property);
    if (node.type === 'FilterExpression') attributes.add(node.filter).add((node.filter as SyntaxNode).callee);
    if (node.type === 'TestExpression') attributes.add(node.test);
    if (node.type === 'KeywordArgumentExpression') attributes.add(node.key);
    if (node.type === 'Set' || node.type === 'For' || node.type === 'Macro') {
      visit([node.assignee, node.loopvar, node.name, node.args], ({ type, value }) => {
        if (type === 'Identifier') brought.add(String(value));
      });
    }
  });
  visit(program, (node) => {
    if (node.type === 'Identifier' && !attributes.has(node)) used.add(String(node.value));
  });
  return [...used].filter((name) => !brought.has(name));
}

function toPlain(value: unknown): unknown {
  const { value: inner } = value as { value: unknown };
  if (Array.isArray(inner)) return inner.map(toPlain);
  if (inner instanceof Map) return Object.fromEntries([...inner].map(([key, entry]) => [key, toPlain(entry)]));
  return inner;
}
