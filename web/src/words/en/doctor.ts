export const doctor = {};
