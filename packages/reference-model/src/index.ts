export { type ReferenceLicence, referenceLicences } from './reference-licences.ts';
export { referenceModelCard } from './reference-model-card.ts';
export { type ReferenceModelFile, referenceModelFiles } from './reference-model-files.ts';
export { type ReferenceText, referenceTexts } from './reference-texts.ts';
