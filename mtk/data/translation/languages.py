"""Language codes of BCP 47 and ISO 639, and variants used by datasets."""

import difflib
import re

# ISO 639-1 codes, each with its three-letter codes (ISO 639-3, and 639-2/B if different).
_CODES = """
aa aar, ab abk, ae ave, af afr, ak aka, am amh, an arg, ar ara arb, as asm, av ava, ay aym ayr,
az aze azj azb, ba bak, be bel, bg bul, bi bis, bm bam, bn ben, bo bod tib, br bre, bs bos, ca cat,
ce che, ch cha, co cos, cr cre, cs ces cze, cu chu, cv chv, cy cym wel, da dan, de deu ger, dv div,
dz dzo, ee ewe, el ell gre, en eng, eo epo, es spa, et est ekk, eu eus baq, fa fas per pes prs,
ff ful fuv, fi fin, fj fij, fo fao, fr fra fre, fy fry, ga gle, gd gla, gl glg, gn grn gug, gu guj,
gv glv, ha hau, he heb iw, hi hin, ho hmo, hr hrv, ht hat, hu hun, hy hye arm, hz her, ia ina,
id ind in, ie ile, ig ibo, ii iii, ik ipk, io ido, is isl ice, it ita, iu iku, ja jpn, jv jav,
ka kat geo, kg kon, ki kik, kj kua, kk kaz, kl kal, km khm, kn kan, ko kor, kr kau knc, ks kas,
ku kur kmr ckb, kv kom, kw cor, ky kir, la lat, lb ltz, lg lug, li lim, ln lin, lo lao, lt lit,
lu lub, lv lav lvs ltg, mg mlg plt, mh mah, mi mri mao, mk mkd mac, ml mal, mn mon khk, mr mar,
ms msa may zsm, mt mlt, my mya bur, na nau, nb nob, nd nde, ne nep npi, ng ndo, nl nld dut, nn nno,
no nor, nr nbl, nv nav, ny nya, oc oci, oj oji, om orm gaz, or ori ory, os oss, pa pan, pi pli,
pl pol, ps pus pbt, pt por, qu que quy, rm roh, rn run, ro ron rum mo mol, ru rus, rw kin, sa san,
sc srd, sd snd, se sme, sg sag, sh hbs, si sin, sk slk slo, sl slv, sm smo, sn sna, so som,
sq sqi alb als, sr srp, ss ssw, st sot, su sun, sv swe, sw swa swh, ta tam, te tel, tg tgk, th tha,
ti tir, tk tuk, tl tgl fil, tn tsn, to ton, tr tur, ts tso, tt tat, tw twi, ty tah, ug uig, uk ukr,
ur urd, uz uzb uzn, ve ven, vi vie, vo vol, wa wln, wo wol, xh xho, yi yid ydd ji, yo yor, za zha,
zh zho chi cmn yue wuu hak nan lzh gan hsn cdo cjy, zu zul
"""
# Codes of FLORES-200 that have three letters only.
_LONG = """
ace acm acq aeb ajp apc ars ary arz ast awa ban bem bho bjn bug ceb cjk crh dik dyu fon fur grn
hne ilo kab kac kam kbp kea kmb lij lmo lua luo lus mag mai min mni mos mus nus nso pag pap sat scn
shn skr szl taq tok tpi tum tzm umb vec war zgh hsb dsb gsw frp nds bar ksh sah myv mhr udm chr haw
"""
_TWO_LETTERS = {
    code: codes.split()[0]
    for codes in _CODES.replace("\n", " ").split(",")
    for code in codes.split()
} | {code: code for code in _LONG.split()}
# Country codes that are mistaken for language codes.
_COUNTRIES = {"cn": "zh", "jp": "ja", "kp": "ko", "ua": "uk", "cz": "cs", "gr": "el", "dk": "da"}
# After the language: extended language subtags, a script, a region, variants.
_REST = re.compile(r"(-[a-z]{3}){0,3}(-[a-z]{4})?(-([a-z]{2,3}|[0-9]{3}))?(-[a-z0-9]{4,8})*")


def normalized(language: str) -> str:
    """Returns a language code without script and region, of two letters if there is one.

    Args:
        language: `"zh"`, `"zho"`, `"zh-CN"`, `"zh_Hant"`, `"zho_Hans"`, ....

    Raises:
        ValueError: If there is no such language; the message suggests similar ones.

    Example:
    >>> [normalized(code) for code in ("zh_Hant", "jpn", "FR-ca", "ceb_Latn")]
    ['zh', 'ja', 'fr', 'ceb']
    """
    code = str(language).strip().lower().replace("_", "-")
    first = code.partition("-")[0]
    if first in _TWO_LETTERS and _REST.fullmatch(code[len(first) :]):
        return _TWO_LETTERS[first]
    close = difflib.get_close_matches(first, sorted(_TWO_LETTERS), n=3, cutoff=0.6)
    near = [_COUNTRIES[first]] if first in _COUNTRIES else close
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    known = ", ".join(code for code in sorted(_TWO_LETTERS) if len(code) == 2)
    raise ValueError(
        f"{language!r} is not a language code (ISO 639), so its words cannot be "
        f"separated.{hint} Use one of: {known}; or a three-letter code. A script and a region may "
        "follow, as in 'zh-Hant' and 'pt-BR'."
    )
