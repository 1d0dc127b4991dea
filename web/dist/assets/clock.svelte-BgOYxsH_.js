import{au as t}from"./index-orQc4dHJ.js";const n=t(r=>{const e=setInterval(r,1e3);return()=>clearInterval(e)});function o(){return n(),Date.now()}export{o as n};
