import { type CheckpointFiles, readJsonObject } from './files/files.ts';

/** Folder of the named templates besides chat_template.jinja. */
export const chatTemplateFolder = 'additional_chat_templates';

/**
 * The chat templates of a checkpoint by name, 'default' being the one that is meant where none is named: chat_template.jinja and
 * additional_chat_templates/NAME.jinja, else `chat_template` of tokenizer_config.json, one text or a list of named ones.
 * Throws 'file-malformed' where tokenizer_config.json is no JSON object.
 */
export async function readChatTemplates(files: CheckpointFiles): Promise<Map<string, string>> {
  const present = await files.list();
  const templates = new Map<string, string>();
  if (present.includes('tokenizer_config.json')) {
    const { chat_template: given } = await readJsonObject(files, 'tokenizer_config.json');
    const list: unknown[] = typeof given === 'string' ? [{ name: 'default', template: given }] : [given].flat();
    for (const entry of list) {
      const { name, template } = Object(entry) as { name?: unknown; template?: unknown };
      if (typeof name === 'string' && typeof template === 'string') templates.set(name, template);
    }
  }
  for (const path of present) {
    const name = path === 'chat_template.jinja' ? 'default' : templateName(path);
    if (name !== undefined) templates.set(name, new TextDecoder().decode(await files.read(path)));
  }
  return templates;
}

function templateName(path: string): string | undefined {
  const [folder, file = '', ...more] = path.split('/');
  const isTemplate = folder === chatTemplateFolder && file.endsWith('.jinja') && more.length === 0;
  return isTemplate ? file.slice(0, -'.jinja'.length) : undefined;
}

/** `chat_template` of a tokenizer_config.json that holds these templates: one text, or a list of named ones. */
export function chatTemplateField(templates: ReadonlyMap<string, string>): unknown {
  const list = [...templates].map(([name, template]) => ({ name, template }));
  return list.length === 1 && list[0]!.name === 'default' ? list[0]!.template : list;
}
