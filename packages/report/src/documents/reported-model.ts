import type { DecoderShape } from '@kvlr/core';

/** The model a report is about. */
export interface ReportedModel {
  /** For people: a path, a hub id or "embedded reference model". */
  name: string;
  shape: DecoderShape;
  /** Numbers in its weights. */
  parameters?: number;
  /** Licence of the weights, as their owner states it. */
  licence?: string;
}
