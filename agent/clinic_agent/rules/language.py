"""Which of three languages a patient writes in, and what the stand-in says in it."""

import re
from typing import Literal

from clinic_agent.rules.text import fold

Language = Literal["en", "fr", "es"]

_COMMON: dict[Language, frozenset[str]] = {
    "en": frozenset(
        "i my me have has had and the a of in for since with but no not it is am are was days day pain feel"
        " days hours very left right he she his her been from when".split()
    ),
    "fr": frozenset(
        "je j'ai ai mon ma mes et le la les un une de des depuis avec mais pas ne n'ai c'est est suis jours"
        " jour douleur mal heures tres dans au aux du il elle il mon fils fille que qui".split()
    ),
    "es": frozenset(
        "yo tengo mi mis y el la los las un una de desde con pero no me es esta estoy dias dia dolor siento"
        " hace horas muy en del al que ha he hijo hija tiene".split()
    ),
}

NOT_A_MODEL: dict[Language, str] = {
    "en": "This message was written by fixed rules, not by a language model.",
    "fr": "Ce message a été rédigé par des règles fixes, non par un modèle de langage.",
    "es": "Este mensaje lo escribieron reglas fijas, no un modelo de lenguaje.",
}

RECEIVED: dict[Language, str] = {
    "en": "Thank you. A doctor will look at your case shortly.",
    "fr": "Merci. Un médecin va examiner votre cas sous peu.",
    "es": "Gracias. Un médico revisará su caso en breve.",
}

EMERGENCY: dict[Language, str] = {
    "en": "What you describe may be an emergency. Call for help or go to the nearest hospital now.",
    "fr": "Ce que vous décrivez peut être une urgence. Appelez les secours ou allez tout de suite à l'hôpital.",
    "es": "Lo que describe puede ser una emergencia. Pida ayuda o vaya ahora mismo al hospital más cercano.",
}


def language_of(text: str) -> Language:
    """Return the language whose everyday words the text has most of; English when it has none."""
    words = re.findall(r"[a-z]+'?[a-z]*", fold(text))
    languages: tuple[Language, ...] = ("en", "fr", "es")
    return max(languages, key=lambda language: sum(word in _COMMON[language] for word in words))
