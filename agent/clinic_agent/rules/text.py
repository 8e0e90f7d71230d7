"""Plain text for matching: folded, cut into clauses, with what is denied told from what is said.

After the idea of NegEx (Chapman et al., J Biomed Inform 2001): a cue denies what follows it within a few words, up to
a word that ends its reach. Where English, French or Spanish leave it open whether something is denied, it counts as
said: a missed emergency costs more than a needless look.
"""

import re
import unicodedata

# Words that may stand between a cue and what it denies; any other word ends the cue's reach.
_FILLERS = frozenset(
    "a an any my the his her such other more real severe mild slight new recent current acute sudden"
    " significant sign signs symptom symptoms of history complaint complaints kind sort form usual at all"
    " pain pains feeling or nor de d' du des la le les l' un une mon ma mes autre autres signe signes"
    " forme douleur douleurs eu ressenti aucune aucun plus ou ni grande grosse forte el los las una unos"
    " mi mis otro otra otros ningun ninguna nada signos sintomas dolor dolores tipo o u mucho mucha tenido"
    " sentido".split()
)
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "`": "'", "´": "'"})

_CUES = re.compile(
    r"""
    \b(?:
      # Spanish
      no\s+(?:tengo|tiene|tenemos|tienen|hay|siento|siente|presento|presenta|refiero|refiere|noto|nota|sufro|sufre
        |padezco|padece|tuve|tuvo|he\s+tenido|ha\s+tenido|he\s+sentido|ha\s+sentido|esta|estoy|ha\s+habido|hubo)
    | no\s+(?:me|le|te|nos|les)(?=\s+(?:duele|duelen))
    | sin | ningun[oa]? | niega[n]? | tampoco | nunca\s+(?:he|ha|tuve|tuvo)
      # English
    | no(?!\s+(?:longer|doubt|better|improvement|relief|help|change|matter|idea|one|way|sleep|end)\b) | without | nor
    | neither | denie[sd] | denying | deny | negative\s+for | free\s+of | absence\s+of | not\s+any | not\s+in
    | (?:do|does|did)(?:n't|\s+not|nt)\s+(?:really\s+|currently\s+|actually\s+)?
        (?:have|feel|get|experience|notice|see|report|complain\s+of|suffer\s+from|seem\s+to\s+have)
    | (?:have|has|had)(?:n't|\s+not|nt)\s+(?:had|got|felt|noticed|experienced|been\s+having|any)
    | (?:is|are|was|were|am)(?:n't|\s+not|nt)\s+(?:having|experiencing|any|a|in)
    | isn't | aren't | wasn't | is\s+not | are\s+not | was\s+not
    | never\s+(?:had|has|have|felt|experienced|a)
      # French
    | pas\s+(?:de|d'|du|des|eu)(?!\s*(?:amelioration|changement|mieux)) | pas\s+non\s+plus
    | n'(?:ai|as|a|avons|avez|ont|avait|avais|y\s+a)\s+(?:pas|jamais)\s+(?=(?:de|d'|du|des|eu|mal|ressenti|la|le|les)\b)
    | ne\s+(?:ressens|ressent|sens|sent|presente|signale|rapporte)\s+(?:pas|aucune?)
    | n'est\s+pas | ne\s+suis\s+pas | n'etait\s+pas | ne\s+saigne\s+pas
    | aucune? | sans | ni | nie(?:nt)? | jamais\s+(?:de|d'|eu)
    )\b
    """,
    re.VERBOSE,
)
# A bare "no" in Spanish, "not" in English: only when what it denies follows at once.
_ADJACENT = re.compile(r"\b(?:no|not|pas)\s+$")
_ENDS_REACH = re.compile(
    r"\b(?:but|however|although|though|yet|except|now|because|since|with|due|from|when|while|why|if|until|after|and|then"
    r"|mais|cependant|pourtant|sauf|car|depuis|avec|quand|lorsque|parce|maintenant|apres|et|puis"
    r"|pero|aunque|sino|salvo|excepto|porque|desde|con|cuando|ahora|despues|y|e|luego)\b"
)
_LIST_ENDS = re.compile(r"(?:,\s*|\b)(?:or|nor|ou|ni|o|u)\b")
_SAID_AFTER = re.compile(
    r"^\s*(?:[:=-]\s*(?:no|none|non|aucune?|ninguno|ninguna|absente?|negative?)\b"
    r"|(?:is|are|was)\s+(?:absent|denied)\b|(?:est\s+)?absente?\b|(?:esta\s+)?ausente\b|\b(?:denied|negada?|niee?)\b)"
)
_CLAUSE = re.compile(r"[;!?\n¿¡()]+|\.(?!\d)")


def fold(text: str) -> str:
    """Return the text in lower case, without accents, with plain apostrophes and single spaces."""
    text = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES)).lower()
    text = "".join(character for character in text if not unicodedata.combining(character))
    return re.sub(r"[^\S\n]+", " ", text)


def clauses(text: str) -> list[str]:
    """Cut folded text where a sentence or a clause ends."""
    return [clause.strip() for clause in _CLAUSE.split(text) if clause.strip()]


def says(text: str, phrase: re.Pattern[str]) -> bool:
    """Say whether folded text affirms a phrase at least once.

    Args:
        text: as `fold` returns it.
        phrase: pattern over folded text.
    """
    return any(
        not _denied(clause, match.start(), match.end()) for clause in clauses(text) for match in phrase.finditer(clause)
    )


def _denied(clause: str, start: int, end: int) -> bool:
    if _SAID_AFTER.match(clause[end:]):
        return True
    before = clause[:start]
    if _ADJACENT.search(before):
        return True
    cues = [cue.end() for cue in _CUES.finditer(clause) if cue.end() <= start]
    return bool(cues) and _reaches(clause[cues[-1] : start], clause[end:])


def _reaches(between: str, after: str) -> bool:
    """Whether a cue reaches over `between`; a list goes on only if it closes with "or", as in "no A, B or C"."""
    if _ENDS_REACH.search(between):
        return False
    if "," in between:
        rest = between[between.rindex(",") + 1 :]
        next_end = _ENDS_REACH.search(after)
        tail = after[: next_end.start()] if next_end else after
        if not (_LIST_ENDS.search(between) or _LIST_ENDS.search(tail)):
            return False
        between = rest
    ors = list(_LIST_ENDS.finditer(between))
    if ors:
        between = between[ors[-1].end() :]
    return all(word in _FILLERS for word in re.findall(r"[a-z]+'?|[^\s\w]", between))
