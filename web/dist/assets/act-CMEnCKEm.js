import{ac as t,a3 as c}from"./index-orQc4dHJ.js";async function f(r,a){try{await r()}catch(s){return t(c(s),{kind:"bad"}),!1}return a&&t(a,{kind:"good"}),!0}export{f as a};
