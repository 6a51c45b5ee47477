/** Loaded before anything is painted: the remembered scheme, so that no page flashes. */
{
  const kept = localStorage.getItem("theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
}
