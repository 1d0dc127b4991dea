import type { Words } from '../en';

export const plan: Words['plan'] = {};
