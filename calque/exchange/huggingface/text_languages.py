"""The languages of Hugging Face's multilingual models, in the order of their ids, and their short names."""

from collections.abc import Sequence

from calque.errors import UsageError, did_you_mean

_MBART = (
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP nl_XX"
    " ro_RO ru_RU si_LK tr_TR vi_VN zh_CN"
)
_MBART50 = (
    " af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX sv_SE sw_KE ta_IN"
    " te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI"
)
_M2M_100 = (
    "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr ht hu hy"
    " id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps pt ro ru"
    " sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu"
)
LANGUAGES = {
    "mbart": tuple(_MBART.split()),
    "mbart50": tuple((_MBART + _MBART50).split()),
    "m2m100": tuple(_M2M_100.split()),
    "wmt21": ("en", "ha", "is", "ja", "cs", "ru", "zh", "de"),
}
"""The codes by the name of their list."""


def chosen_languages(given: tuple[str, str] | None, settings: dict[str, object], codes: Sequence[str]) -> list[str]:
    """Return the codes of source and target; the part before the `_` is enough if only one code has it.

    If none are given, the codes are those in tokenizer_config.json.
    """
    found = given or (settings.get("src_lang"), settings.get("tgt_lang"))
    names = [name for name in found if isinstance(name, str) and name]
    if len(names) < 2:
        raise UsageError(
            f"this model needs the languages of source and target, two of {', '.join(codes)};"
            f" give them, such as {codes[0]} and {codes[-1]}."
        )
    return [_code(name, codes) for name in names]


def _code(name: str, codes: Sequence[str]) -> str:
    if name in codes:
        return name
    stem = name.partition("_")[0].casefold()
    alike = [code for code in codes if code.partition("_")[0].casefold() == stem]
    # Two full names such as zh_TW and zh_CN are different languages.
    if len(alike) == 1 and ("_" not in name or "_" not in alike[0]):
        return alike[0]
    near = f" Similar: {', '.join(alike)}." if alike else did_you_mean(name, codes)
    raise UsageError(f"this model has no language {name[:40]!r}.{near} The languages are {', '.join(codes)}.")
