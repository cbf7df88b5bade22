import type { EntryDtype } from '@kvlr/core';
import { int4, int8 } from './codes.ts';
import { f16, f32, fp8 } from './floats.ts';
import type { SlotDtype } from './slot-dtype.ts';

/** Every dtype of a cache whose tokens are stored one by one. */
export const slotDtypes: Record<EntryDtype, SlotDtype> = { f32, f16, fp8, int8, int4 };
