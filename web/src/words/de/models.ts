import type { Words } from '../en';

export const models: Words['models'] = {};
