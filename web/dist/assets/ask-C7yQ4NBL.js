import{ag as n}from"./index-orQc4dHJ.js";let a;function s(t){a=t,n("chat")}function e(){const t=a;return a=void 0,t}export{s as a,e as t};
