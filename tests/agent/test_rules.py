"""The rules stand-in: red flags, negation in three languages, prescriptions without invented doses."""

import pytest
from clinic_agent.rules.language import language_of
from clinic_agent.rules.prescribing import candidates, write_prescription
from clinic_agent.rules.red_flags import RULES
from clinic_agent.rules.triage import triage
from hypothesis import given
from hypothesis import strategies as st

CHEST, BREATH, FEVER, BLEED = "chest_pain", "short_of_breath", "fever", "heavy_bleeding"

NEGATION = [
    ("I have chest pain", CHEST, True),
    ("no chest pain", CHEST, False),
    ("No fever, no chest pain.", CHEST, False),
    ("no fever but chest pain", CHEST, True),
    ("no fever, chest pain since this morning", CHEST, True),
    ("no fever, cough or chest pain", CHEST, False),
    ("no fever or chest pain", CHEST, False),
    ("no fever and chest pain since noon", CHEST, True),
    ("I don't have chest pain", CHEST, False),
    ("I do not have any chest pain", CHEST, False),
    ("denies chest pain", CHEST, False),
    ("without chest pain", CHEST, False),
    ("never had chest pain", CHEST, False),
    ("there are no signs of chest pain", CHEST, False),
    ("no longer any appetite, chest pain", CHEST, True),
    ("no relief from the chest pain", CHEST, True),
    ("I could not sleep because of chest pain", CHEST, True),
    ("the pills did not stop the chest pain", CHEST, True),
    ("I cannot sleep with this chest pain", CHEST, True),
    ("no appetite chest pain", CHEST, True),
    ("chest pain: none", CHEST, False),
    ("I am not short of breath", BREATH, False),
    ("headache. No chest pain. Short of breath.", BREATH, True),
    ("pas de douleur thoracique", CHEST, False),
    ("Je n’ai pas mal à la poitrine", CHEST, False),
    ("J'ai mal à la poitrine", CHEST, True),
    ("pas de fièvre mais une douleur thoracique", CHEST, True),
    ("pas de fièvre ni de douleur thoracique", CHEST, False),
    ("aucune douleur thoracique", CHEST, False),
    ("sans douleur à la poitrine", CHEST, False),
    ("il n'y a pas de douleur dans la poitrine", CHEST, False),
    ("le médicament n'a pas calmé la douleur thoracique", CHEST, True),
    ("je ne peux pas dormir à cause de la douleur thoracique", CHEST, True),
    ("pas d'essoufflement", BREATH, False),
    ("pas de toux, essoufflé depuis hier", BREATH, True),
    ("pas de fièvre", FEVER, False),
    ("fièvre depuis deux jours, pas de toux", FEVER, True),
    ("sin dolor de pecho", CHEST, False),
    ("no tengo dolor de pecho", CHEST, False),
    ("no me duele el pecho", CHEST, False),
    ("me duele el pecho", CHEST, True),
    ("no tengo fiebre pero me duele el pecho", CHEST, True),
    ("sin fiebre ni dolor en el pecho", CHEST, False),
    ("ningún dolor de pecho", CHEST, False),
    ("niega dolor torácico", CHEST, False),
    ("no se me quita el dolor de pecho", CHEST, True),
    ("no puedo dormir por el dolor de pecho", CHEST, True),
    ("sin tos, dolor de pecho desde ayer", CHEST, True),
    ("no tengo fiebre", FEVER, False),
    ("tengo fiebre y tos", FEVER, True),
    ("sangra mucho", BLEED, True),
    ("no hay hemorragia abundante", BLEED, False),
    ("saigne beaucoup", BLEED, True),
    ("heavy bleeding that does not stop", BLEED, True),
    ("no heavy bleeding", BLEED, False),
]


@pytest.mark.parametrize(("words", "finding", "said"), NEGATION)
def test_what_is_denied_is_not_found_and_what_is_said_is(words: str, finding: str, said: bool) -> None:
    assert (finding in {rule.id for rule in triage(words).findings}) is said


@pytest.mark.parametrize(
    "words",
    [
        "chest pain radiating to my left arm",
        "Douleur thoracique qui descend dans le bras gauche",
        "dolor de pecho que baja al brazo izquierdo",
        "I can't breathe",
        "je ne peux plus respirer",
        "no puedo respirar",
        "my face is drooping and I have slurred speech",
        "she lost consciousness",
        "il a perdu connaissance",
        "perdió el conocimiento",
        "bleeding heavily from the leg",
        "my lips are swelling after a bee sting",
        "convulsions since this morning",
        "stiff neck, fever and headache",
        "raideur de la nuque et fièvre",
        "rigidez de nuca y fiebre",
        "my baby cannot drink",
        "snake bite on the foot",
        "no fever but I cannot breathe",
        "I am pregnant and bleeding",
    ],
)
def test_a_red_flag_is_an_emergency_in_each_language(words: str) -> None:
    assert triage(words).is_emergency


@pytest.mark.parametrize(
    ("words", "score"),
    [
        ("headache and fever for two days", 3),
        ("severe headache", 4),
        ("high fever", 4),
        ("chest pain", 5),
        ("sore throat", 2),
        ("I need a refill of my tablets", 1),
        ("mal de gorge depuis hier", 2),
        ("chest pain but it does not go to my arm", 5),
        ("something feels odd", 3),
    ],
)
def test_the_rest_gets_a_score_and_no_emergency(words: str, score: int) -> None:
    result = triage(words)
    assert (result.is_emergency, result.score) == (False, score)


def test_chest_pain_over_fifty_is_an_emergency() -> None:
    assert triage("chest pain", age=64).is_emergency
    assert not triage("chest pain", age=30).is_emergency


@given(st.text(max_size=400))
def test_any_text_at_all_gets_a_score_in_range(words: str) -> None:
    assert 1 <= triage(words).score <= 5


def test_there_are_at_least_25_cited_rules_for_what_cannot_wait() -> None:
    flags = [rule for rule in RULES if rule.level in ("emergency", 5, 4)]
    assert len(flags) >= 25
    assert all(rule.source.split()[-1].isdigit() for rule in flags)


@pytest.mark.parametrize(
    ("words", "language"),
    [
        ("I have a headache", "en"),
        ("J'ai mal à la tête depuis hier", "fr"),
        ("Tengo dolor de cabeza", "es"),
        ("", "en"),
    ],
)
def test_the_language_is_told_from_everyday_words(words: str, language: str) -> None:
    assert language_of(words) == language


def test_medicines_are_found_in_the_notes_and_other_words_are_not() -> None:
    notes = "Viral infection. Paracetamol 500 mg every 6 hours for 3 days and ibuprofen 400 mg. Rest, fluids."
    assert candidates(notes) == ["paracetamol", "ibuprofen"]


def test_a_substitute_gets_no_invented_dose() -> None:
    stock = {
        "amoxicillin": {"generic_name": "Amoxicillin", "in_stock": False, "alternatives": ["Azithromycin"]},
        "azithromycin": {"generic_name": "Azithromycin", "in_stock": True},
    }
    text = write_prescription("Amoxicillin 500 mg three times a day for 7 days.", stock)
    assert "Azithromycin in place of Amoxicillin, which is out of stock, and the doctor confirms the dose" in text
    assert "500 mg" not in text


def test_how_often_is_not_a_medicine() -> None:
    assert candidates("Paracetamol 500mg three times daily for 3 days") == ["paracetamol"]
    assert candidates("Drink 500 ml of water, four times daily") == []


def test_a_medicine_the_pharmacy_does_not_know_is_never_left_out() -> None:
    stock = {
        "paracetamol": {"medication": "Paracetamol 500mg", "generic_name": "Acetaminophen", "in_stock": True},
        "warfarin": {"medication": "warfarin", "in_stock": False, "quantity": 0, "note": "Not found."},
    }
    assert write_prescription("Warfarin 5mg daily.", stock) == "Warfarin 5mg daily"
    both = write_prescription("Paracetamol 500mg and warfarin 5mg daily.", stock)
    assert both == "Paracetamol 500mg\nwarfarin 5mg daily"


def test_notes_without_a_medicine_prescribe_none() -> None:
    assert write_prescription("Rest and fluids.", {}) == "No medication"
