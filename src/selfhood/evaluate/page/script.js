const root = document.documentElement;
const speak = (language) => {
  root.dataset.lang = language;
  root.lang = language === "zh" ? "zh-CN" : "en";
};
speak((navigator.language || "").startsWith("zh") ? "zh" : "en");
document.getElementById("switch").addEventListener("click", () => {
  speak(root.dataset.lang === "zh" ? "en" : "zh");
});
