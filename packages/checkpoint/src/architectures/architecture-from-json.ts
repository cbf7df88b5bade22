import { KvlrError } from '@kvlr/core';
import type { ArchitectureDescriptor, BiasRule } from './architecture-descriptor.ts';
import { architectures } from './find-architecture.ts';

type Fields = Record<string, unknown>;

/** Roles that a model has once; the tensors of all others are one for each layer. */
const globalRoles = ['embedding', 'finalNorm', 'languageModelHead'];

/**
 * Takes a model family out of parsed JSON. `like` names a built-in family whose entries hold where the file gives none, tensor
 * by tensor, so that a family that only names things otherwise is a few lines.
 *
 * @param json What JSON.parse gave.
 * @param label Path of the file, for messages.
 * @throws KvlrError 'plugin-invalid', naming the field.
 */
export function architectureFromJson(json: unknown, label: string): ArchitectureDescriptor {
  const { fail, object, text, list } = createChecks(label);
  const given = object('the file', json);
  const base = given.like === undefined ? undefined : architectures.find(({ name }) => name === given.like);
  if (given.like !== undefined && base === undefined) {
    fail('like', `one of ${architectures.map(({ name }) => name).join(', ')}`, given.like);
  }
  const merged: Fields = { refused: [], ...base, ...given };
  for (const field of ['biases', 'defaults', 'tensors'] as const) {
    merged[field] = { ...base?.[field], ...object(field, given[field] ?? (base && {})) };
  }
  const unknown = Object.keys(given).find((field) => !fields.includes(field));
  if (unknown !== undefined) fail(unknown, `one of the fields ${fields.join(', ')}`, 'an unknown one');

  list('modelTypes', merged.modelTypes).forEach((modelType) => {
    text('modelTypes', modelType);
  });
  for (const field of ['name', 'className']) text(field, merged[field]);
  const biases = object('biases', merged.biases);
  for (const kind of ['attention', 'output', 'feedForward']) {
    if (!isBiasRule(biases[kind])) {
      fail(
        `biases.${kind}`,
        '{ "always": true or false } or { "field": name, "default": true or false }',
        biases[kind],
      );
    }
  }
  const defaults = object('defaults', merged.defaults);
  for (const [field, type] of defaultTypes) {
    const value = defaults[field];
    if (typeof value !== type) fail(`defaults.${field}`, `a ${type}`, value);
  }
  list('refused', merged.refused, 0).forEach((entry) => {
    const { field, when, reason } = object('refused', entry);
    for (const value of [field, reason]) text('refused', value);
    if (when !== 'true' && when !== 'shorter-than-context')
      fail('refused.when', "'true' or 'shorter-than-context'", when);
  });
  if (merged.gguf !== undefined) {
    const { architecture, rowOrder, frequencyFactors } = object('gguf', merged.gguf);
    text('gguf.architecture', architecture);
    if (rowOrder !== 'interleaved' && rowOrder !== 'half-split')
      fail('gguf.rowOrder', "'interleaved' or 'half-split'", rowOrder);
    if (typeof frequencyFactors !== 'boolean') fail('gguf.frequencyFactors', 'true or false', frequencyFactors);
  }
  checkTensors(object('tensors', merged.tensors), fail);
  const { like: _, ...descriptor } = merged;
  return descriptor as unknown as ArchitectureDescriptor;
}

const fields = ['like', 'name', 'modelTypes', 'className', 'biases', 'defaults', 'refused', 'gguf', 'tensors'];

const defaultTypes: [field: string, type: 'number' | 'string' | 'boolean'][] = [
  ['rms_norm_eps', 'number'],
  ['max_position_embeddings', 'number'],
  ['hidden_act', 'string'],
  ['tie_word_embeddings', 'boolean'],
];

type Fail = (field: string, expected: string, received: unknown) => never;

/** Every role has a name of its own, with the layer's number where there is one for each layer. */
function checkTensors(tensors: Fields, fail: Fail): void {
  const roles = Object.keys(architectures[0]!.tensors);
  const unknown = Object.keys(tensors).find((role) => !roles.includes(role));
  if (unknown !== undefined) fail(`tensors.${unknown}`, `one of the roles ${roles.join(', ')}`, 'an unknown one');
  const seen = new Map<unknown, string>();
  for (const role of roles) {
    const template = tensors[role];
    if (typeof template !== 'string' || template === '') fail(`tensors.${role}`, 'the name of a tensor', template);
    const perLayer = !globalRoles.includes(role);
    if (perLayer !== (template as string).includes('{layer}')) {
      fail(`tensors.${role}`, perLayer ? "a name with '{layer}' in it" : "a name without '{layer}'", template);
    }
    if (seen.has(template)) fail(`tensors.${role}`, `another name than tensors.${seen.get(template)}`, template);
    seen.set(template, role);
  }
}

function isBiasRule(rule: unknown): rule is BiasRule {
  if (typeof rule !== 'object' || rule === null) return false;
  const { always, field, default: fallback } = rule as Fields;
  return typeof always === 'boolean' || (typeof field === 'string' && typeof fallback === 'boolean');
}

function createChecks(label: string) {
  const fail: Fail = (field, expected, received) => {
    const shown = received === undefined ? 'none' : JSON.stringify(received);
    throw new KvlrError('plugin-invalid', {
      message: `${label}: expected ${field} to be ${expected}, got ${shown}`,
      hint: 'Begin with { "like": "llama" } and give only what differs; see examples/architectures/renamed.json.',
      data: { file: label, field },
    });
  };
  return {
    fail,
    object(field: string, value: unknown): Fields {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) fail(field, 'an object', value);
      return value as Fields;
    },
    text(field: string, value: unknown): void {
      if (typeof value !== 'string' || value === '') fail(field, 'a text', value);
    },
    list(field: string, value: unknown, least = 1): unknown[] {
      if (!Array.isArray(value) || value.length < least) fail(field, 'a list', value);
      return value as unknown[];
    },
  };
}
