/** One turn of a conversation. */
export interface ChatMessage {
  /** system, user and assistant are known to most models. */
  role: 'system' | 'user' | 'assistant' | (string & {});
  content: string;
}

export interface ChatSettings {
  /** Ends the text where the assistant's answer begins. Default true. */
  addGenerationPrompt?: boolean;
  /** Further variables of the template, for example `enable_thinking`. */
  variables?: Record<string, unknown>;
}
