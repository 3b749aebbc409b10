"""What each error code means, and what a certificate says."""

from __future__ import annotations

from pathlib import Path

from dsl.errors import DistillError

PAGES = {
    "D001": "A file that was named does not exist or cannot be read. Check the path.",
    "D002": "The object given is neither a path, a torch module nor a function.",
    "D010": "The model file is damaged or of a kind that its reader does not know. Save it again.",
    "D011": "A reader needs a package that is not installed; the message shows the pip line.",
    "D012": "The module is in training mode, in which dropout and batch norm are random.",
    "D013": "The network does not take inputs of that shape; the message says which it takes.",
    "D021": "The module or function cannot be traced; the message says where it stops.",
    "D020": "The network uses operations that cannot be translated; all are listed.",
    "D022": "The network keeps state or draws random numbers, so that outputs may vary.",
    "D101": "The text is not a program of the language; docs/reference/language.md lists what is.",
    "D102": "A program's types do not fit together.",
    "D110": "The domain has infinitely many inputs where a finite one is needed.",
    "D111": "The text of a domain cannot be read; a caret shows the place.",
    "D112": "No input satisfies the condition after `where`.",
    "D113": "Packing, positions or labels do not fit the network's inputs or outputs.",
    "D115": "A domain is needed: nothing can be proved of unnamed inputs.",
    "D116": "A time is written like 90s, 5m or 1h.",
    "D120": "task.toml is missing, cannot be read, or lacks a field.",
    "D121": "Words in task.toml are not understood; write an expression instead.",
    "D130": "A file could not be written. Nothing is left half-written.",
    "D131": "A certificate names a model file; a network in memory has none.",
    "D132": "A file that would be written exists already.",
    "D133": "Other processes open the model from its file; a network in memory has none.",
    "D134": "A worker read another model than the one that is compiled; results would be mixed.",
    "D135": "A number of workers, or the address of an executor, cannot be read.",
    "D136": "No Dask scheduler answers at the address given.",
    "D137": "A program takes other inputs than the domain names.",
    "D014": "The weights hold NaN or infinite numbers; nothing can be proved of such a network.",
    "D015": "The file wants to run code of others; what it asks for is listed.",
    "D016": "Weights say nothing of the network: name it with --arch file.py:callable.",
    "D017": "Names or shapes of the weights are not those of the architecture.",
    "D018": "No reader knows files of this kind.",
    "D019": "No function of that name can be imported; write module:function.",
    "D138": "The model changed between its reading and the end of the run. Run again.",
    "D139": "Another run writes to the same folder. Wait for it, or name another with --out.",
    "D141": "A size of memory is written like 500M or 4G.",
    "D142": "A property and a model do not fit: other inputs, or an operation without bounds.",
    "D140": "A property file is not VNN-LIB as this tool reads it; the message shows the place.",
    "D201": "The program and the model differ on an input, which is shown.",
    "D202": "The check could not decide within its budget.",
    "D210": "The certificate is damaged: schema, fields, types or digest.",
    "D211": "The program beside the certificate cannot be read.",
    "D212": "The model that the certificate names is not where it was.",
    "D213": "The claim holds, but model or program changed since the certificate was made.",
    "D214": "No certificate was found.",
    "D301": "No hypothesis was found in the time given.",
}


def explanation(subject: str) -> str:
    """The page of a code, or what a certificate claims.  Raises D001 for neither."""
    if subject in PAGES:
        return f"{subject}  {PAGES[subject]}"
    path = Path(subject)
    if path.is_dir():
        path = path / "certificate.json"
    if not path.is_file():
        raise DistillError(
            "D001",
            f"{subject} is neither an error code nor a certificate",
            remedy="codes: " + ", ".join(PAGES),
        )
    from distill.certificate import read

    content = read(path).content
    verdict, task = content["verdict"], content["task"]
    lines = [
        f"{verdict['kind']}  by {verdict.get('method') or 'no method'}",
        f"domain      {verdict.get('proven_domain', task.get('domain'))}",
        f"arithmetic  {verdict.get('arithmetic', '-')}",
        f"model       {content['model']['folder']}/{task.get('model')}",
        f"program     {content['program']['file']} ({content['program'].get('nodes')} nodes)",
    ]
    evidence = verdict.get("evidence", {})
    lines += [f"  {key}: {value}" for key, value in evidence.items() if not isinstance(value, list)]
    return "\n".join(lines)
