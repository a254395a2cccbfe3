"""What people call languages: codes of two and three letters, with a region or without, and English names."""

import functools
import os
import re
from pathlib import Path

# English name, ISO 639-1 and ISO 639-2 or 639-3, of the languages that bilingual data is mostly in.
_LANGUAGES = """
    afrikaans af afr; albanian sq sqi alb; arabic ar ara; armenian hy hye arm; azerbaijani az aze; basque eu eus baq;
    belarusian be bel; bengali bn ben; bosnian bs bos; breton br bre; bulgarian bg bul; burmese my mya bur;
    catalan ca cat; chinese zh zho chi cmn; croatian hr hrv; czech cs ces cze; danish da dan; dutch nl nld dut;
    english en eng; esperanto eo epo; estonian et est; finnish fi fin; french fr fra fre; galician gl glg;
    georgian ka kat geo; german de deu ger; greek el ell gre; gujarati gu guj; hebrew he heb; hindi hi hin;
    hungarian hu hun; icelandic is isl ice; indonesian id ind; irish ga gle; italian it ita; japanese ja jpn;
    kannada kn kan; kazakh kk kaz; khmer km khm; korean ko kor; kurdish ku kur; latin la lat; latvian lv lav;
    lithuanian lt lit; macedonian mk mkd mac; malay ms msa may zsm; malayalam ml mal; maltese mt mlt; marathi mr mar;
    mongolian mn mon; nepali ne nep; norwegian no nor nob nno; persian fa fas per; polish pl pol; portuguese pt por;
    punjabi pa pan; romanian ro ron rum; russian ru rus; serbian sr srp; sinhala si sin; slovak sk slk slo;
    slovenian sl slv; somali so som; spanish es spa; swahili sw swa; swedish sv swe; tagalog tl tgl; tamil ta tam;
    telugu te tel; thai th tha; turkish tr tur; ukrainian uk ukr; urdu ur urd; uzbek uz uzb; vietnamese vi vie;
    welsh cy cym wel; yiddish yi yid; zulu zu zul
"""
_OTHER_CODES = """
    aa ab ae ak am an as av ay ba bh bi bm bo ce ch co cr cu cv dv dz ee ff fj fo fy gd gn gv ha ho ht hz ia ie ig ii ik
    io iu jv kg ki kj kl kr ks kv kw ky lb lg li ln lo lu mg mh mi na nb nd ng nn nr nv ny oc oj om or os pi ps qu rm rn
    rw sa sc sd se sg sm sn ss st su tg ti tk tn to ts tt tw ty ug ve vo wa wo xh yo za
"""
_CODES = {
    name: code
    for name, code, *others in (entry.split() for entry in _LANGUAGES.split(";"))
    for name in (name, code, *others)
} | {code: code for code in _OTHER_CODES.split()}
_NO_LANGUAGE = ("gz", "bz2", "xz", "txt")
_REGION = re.compile(r"[-_].*")


def language_code(name: str) -> str:
    """The code of a language, of two letters where it has such, whatever it is called; "" for what is none.

    >>> [language_code(name) for name in ("German", "de", "deu", "pt_BR", "en-US", "score")]
    ['de', 'de', 'de', 'pt', 'en', '']

    Args:
        name: A code of two or three letters, with a region or without, or an English name, in small or capital letters.
    """
    return _CODES.get(_REGION.sub("", name.strip().lower()), "")


def file_language(path: str | os.PathLike[str]) -> str:
    """The code of the language that a file is named after, "" for none.

    >>> file_language("test_2016_flickr.de.gz"), file_language("corpus.pt_BR"), file_language("notes.txt")
    ('de', 'pt', '')
    """
    parts = [part for part in Path(path).name.split(".")[1:] if part.lower() not in _NO_LANGUAGE]
    return language_code(parts[-1]) if parts and len(parts[-1]) <= len("zh_Hans") else ""


@functools.lru_cache(maxsize=1024)  # it is asked for every unit of a translation memory
def is_language(name: str, language: str) -> bool:
    """Whether a name of a language, which may have a region, is of the one that is asked for.

    >>> is_language("en-US", "en"), is_language("EN_us", "en-US"), is_language("en", "en-US")
    (True, True, False)
    """
    name, language = (each.strip().lower().replace("_", "-") for each in (name, language))
    return name == language or name.startswith(f"{language}-") or "" != language_code(name) == _CODES.get(language)
