"""The literature that a run's methods rest on: who to cite, and BibTeX of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

CITED = re.compile(r"\s*\[@([a-z0-9;@ ]+)\]")
"""Where a sentence cites: ``[@holm1979]``, several with ``;`` between, as Pandoc has it."""


class Reference(NamedTuple):
    """One source.

    Attributes
    ----------
    kind
        Of BibTeX: ``article``, ``inproceedings``, ``book``, ``misc``.
    short
        Authors and year, as a text names it.
    fields
        Of BibTeX, in its form.
    """

    kind: str
    short: str
    fields: Mapping[str, str]


def _article(
    short: str, author: str, title: str, journal: str, year: int, where: str, **more: str
) -> Reference:
    """`where` is volume:pages, or volume(number):pages."""
    volume, _, pages = where.partition(":")
    volume, _, number = volume.rstrip(")").partition("(")
    fields = {"author": author, "title": title, "journal": journal, "year": str(year)}
    told = {"volume": volume, "number": number, "pages": pages}
    fields |= {key: text for key, text in told.items() if text}
    return Reference("article", short, fields | more)


def _other(kind: str, short: str, author: str, title: str, year: int, **more: str) -> Reference:
    fields = {"author": author, "title": title, "year": str(year)}
    return Reference(kind, short, fields | more)


REFERENCES: Mapping[str, Reference] = {
    "agarwal2021": _other(
        "inproceedings", "Agarwal et al. 2021",
        "Agarwal, Rishabh and Schwarzer, Max and Castro, Pablo Samuel and Courville, Aaron C. and "
        "Bellemare, Marc G.",
        "Deep Reinforcement Learning at the Edge of the Statistical Precipice", 2021,
        booktitle="Advances in Neural Information Processing Systems", volume="34",
        pages="29304--29320",
    ),
    "akiba2019": _other(
        "inproceedings", "Akiba et al. 2019",
        "Akiba, Takuya and Sano, Shotaro and Yanase, Toshihiko and Ohta, Takeru and Koyama, "
        "Masanori",
        "Optuna: A Next-generation Hyperparameter Optimization Framework", 2019,
        booktitle="Proceedings of the 25th ACM SIGKDD International Conference on Knowledge "
        "Discovery and Data Mining", pages="2623--2631",
        doi="10.1145/3292500.3330701",
    ),
    "allen2022": _other(
        "misc", "Allen Institute 2022", "{Allen Institute for Brain Science}",
        "Visual Behavior Neuropixels dataset", 2022, howpublished="portal.brain-map.org",
    ),
    "balestriero2025": _other(
        "misc", "Balestriero and LeCun 2025", "Balestriero, Randall and LeCun, Yann",
        "{LeJEPA}: Provable and Scalable Self-Supervised Learning Without the Heuristics", 2025,
        eprint="2511.08544", archiveprefix="arXiv",
    ),
    "bergstra2011": _other(
        "inproceedings", "Bergstra et al. 2011",
        "Bergstra, James and Bardenet, R{\\'e}mi and Bengio, Yoshua and K{\\'e}gl, Bal{\\'a}zs",
        "Algorithms for Hyper-Parameter Optimization", 2011,
        booktitle="Advances in Neural Information Processing Systems", volume="24",
    ),
    "box1961": _article(
        "Box and Hunter 1961", "Box, George E. P. and Hunter, J. Stuart",
        "The $2^{k-p}$ Fractional Factorial Designs Part {I}", "Technometrics", 1961,
        "3(3):311--351",
        doi="10.1080/00401706.1961.10489951",
    ),
    "box2005": _other(
        "book", "Box et al. 2005", "Box, George E. P. and Hunter, J. Stuart and Hunter, William G.",
        "Statistics for Experimenters: Design, Innovation, and Discovery", 2005,
        edition="2nd", publisher="Wiley",
    ),
    "cho2014": _other(
        "inproceedings", "Cho et al. 2014",
        "Cho, Kyunghyun and van Merri{\\\"e}nboer, Bart and Gulcehre, Caglar and Bahdanau, Dzmitry "
        "and Bougares, Fethi and Schwenk, Holger and Bengio, Yoshua",
        "Learning Phrase Representations using {RNN} Encoder--Decoder for Statistical Machine "
        "Translation", 2014,
        booktitle="Proceedings of the 2014 Conference on Empirical Methods in Natural Language "
        "Processing", pages="1724--1734", doi="10.3115/v1/D14-1179",
    ),
    "deb2002": _article(
        "Deb et al. 2002",
        "Deb, Kalyanmoy and Pratap, Amrit and Agarwal, Sameer and Meyarivan, T.",
        "A Fast and Elitist Multiobjective Genetic Algorithm: {NSGA-II}",
        "IEEE Transactions on Evolutionary Computation", 2002, "6(2):182--197",
        doi="10.1109/4235.996017",
    ),
    "fawcett2016": _article(
        "Fawcett and Hoos 2016", "Fawcett, Chris and Hoos, Holger H.",
        "Analysing Differences Between Algorithm Configurations through Ablation",
        "Journal of Heuristics", 2016, "22(4):431--458",
        doi="10.1007/s10732-014-9275-9",
    ),
    "fisher1935": _other(
        "book", "Fisher 1935", "Fisher, Ronald A.", "The Design of Experiments", 1935,
        publisher="Oliver and Boyd",
    ),
    "hansen2016": _other(
        "misc", "Hansen 2016", "Hansen, Nikolaus", "The {CMA} Evolution Strategy: A Tutorial", 2016,
        eprint="1604.00772", archiveprefix="arXiv",
    ),
    "hardoon2004": _article(
        "Hardoon et al. 2004",
        "Hardoon, David R. and Szedmak, Sandor and Shawe-Taylor, John",
        "Canonical Correlation Analysis: An Overview with Application to Learning Methods",
        "Neural Computation", 2004, "16(12):2639--2664",
        doi="10.1162/0899766042321814",
    ),
    "harris2020": _other(
        "misc", "Harris 2020", "Harris, Kenneth D.", "Nonsense Correlations in Neuroscience", 2020,
        howpublished="bioRxiv", doi="10.1101/2020.11.29.402719",
    ),
    "hodges1963": _article(
        "Hodges and Lehmann 1963", "Hodges, Jr., J. L. and Lehmann, E. L.",
        "Estimates of Location Based on Rank Tests", "The Annals of Mathematical Statistics", 1963,
        "34(2):598--611",
        doi="10.1214/aoms/1177704172",
    ),
    "holm1979": _article(
        "Holm 1979", "Holm, Sture", "A Simple Sequentially Rejective Multiple Test Procedure",
        "Scandinavian Journal of Statistics", 1979, "6(2):65--70",
        url="https://www.jstor.org/stable/4615733",
    ),
    "izhikevich2003": _article(
        "Izhikevich 2003", "Izhikevich, Eugene M.", "Simple Model of Spiking Neurons",
        "IEEE Transactions on Neural Networks", 2003, "14(6):1569--1572",
        doi="10.1109/TNN.2003.820440",
    ),
    "kingma2015": _other(
        "inproceedings", "Kingma and Ba 2015", "Kingma, Diederik P. and Ba, Jimmy",
        "Adam: A Method for Stochastic Optimization", 2015,
        booktitle="International Conference on Learning Representations",
    ),
    "li2020": _other(
        "inproceedings", "Li et al. 2020",
        "Li, Liam and Jamieson, Kevin and Rostamizadeh, Afshin and Gonina, Ekaterina and Ben-tzur, "
        "Jonathan and Hardt, Moritz and Recht, Benjamin and Talwalkar, Ameet",
        "A System for Massively Parallel Hyperparameter Tuning", 2020,
        booktitle="Proceedings of Machine Learning and Systems", volume="2", pages="230--246",
    ),
    "neftci2019": _article(
        "Neftci et al. 2019", "Neftci, Emre O. and Mostafa, Hesham and Zenke, Friedemann",
        "Surrogate Gradient Learning in Spiking Neural Networks: Bringing the Power of "
        "Gradient-Based Optimization to Spiking Neural Networks",
        "IEEE Signal Processing Magazine", 2019, "36(6):51--63",
        doi="10.1109/MSP.2019.2931595",
    ),
    "satterthwaite1946": _article(
        "Satterthwaite 1946", "Satterthwaite, F. E.",
        "An Approximate Distribution of Estimates of Variance Components", "Biometrics Bulletin",
        1946, "2(6):110--114",
        doi="10.2307/3002019",
    ),
    "schuirmann1987": _article(
        "Schuirmann 1987", "Schuirmann, Donald J.",
        "A Comparison of the Two One-Sided Tests Procedure and the Power Approach for Assessing "
        "the Equivalence of Average Bioavailability",
        "Journal of Pharmacokinetics and Biopharmaceutics", 1987, "15(6):657--680",
        doi="10.1007/BF01068419",
    ),
    "student1908": _article(
        "Student 1908", "{Student}", "The Probable Error of a Mean", "Biometrika", 1908,
        "6(1):1--25",
        doi="10.1093/biomet/6.1.1",
    ),
    "tukey1958": _article(
        "Tukey 1958", "Tukey, John W.", "Bias and Confidence in Not-Quite Large Samples",
        "The Annals of Mathematical Statistics", 1958, "29(2):614",
        doi="10.1214/aoms/1177706647",
    ),
    "zenke2018": _article(
        "Zenke and Ganguli 2018", "Zenke, Friedemann and Ganguli, Surya",
        "{SuperSpike}: Supervised Learning in Multilayer Spiking Neural Networks",
        "Neural Computation", 2018, "30(6):1514--1541",
        doi="10.1162/neco_a_01086",
    ),
    "zou2008": _article(
        "Zou and Donner 2008", "Zou, Guang Yong and Donner, Allan",
        "Construction of Confidence Limits about Effect Measures: A General Approach",
        "Statistics in Medicine", 2008, "27(10):1693--1702",
        doi="10.1002/sim.3095",
    ),
}  # fmt: skip
"""By key of BibTeX."""
RHEOBASE = "rheobase"
"""Key of the package itself, whose version each run knows."""


def known_references(version: str) -> dict[str, Reference]:
    """Return every source, the package itself in a version among them."""
    author = "{The rheobase developers}"
    title = (
        "rheobase: constrained search for spiking networks that carry latent dynamics of visual "
        "cortex"
    )
    own = {"author": author, "title": title, "version": version}
    return {RHEOBASE: Reference("software", "The rheobase developers", own), **REFERENCES}


def cited(sentences: Iterable[str]) -> list[str]:
    """Return the keys that sentences cite, each once, in their order.

    Examples
    --------
    >>> cited(["One [@holm1979].", "Two [@fisher1935; @holm1979]."])
    ['holm1979', 'fisher1935']
    """
    marks = [mark for one in sentences for mark in CITED.findall(one)]
    keys = [key.strip(" @") for mark in marks for key in mark.split(";")]
    return list(dict.fromkeys(keys))


def with_names(text: str, known: Mapping[str, Reference]) -> str:
    """Return a text that names authors and year where it cites.

    Examples
    --------
    >>> with_names("Corrected [@holm1979].", REFERENCES)
    'Corrected (Holm 1979).'
    """

    def named(found: re.Match[str]) -> str:
        return f" ({'; '.join(known[key.strip(' @')].short for key in found[1].split(';'))})"

    return CITED.sub(named, text)


def bibtex(keys: Sequence[str], known: Mapping[str, Reference]) -> str:
    """Return sources as BibTeX, in the order of their keys.

    Examples
    --------
    >>> print(bibtex(["fisher1935"], REFERENCES))
    @book{fisher1935,
      author = {Fisher, Ronald A.},
      title = {The Design of Experiments},
      year = {1935},
      publisher = {Oliver and Boyd},
    }
    """
    return "\n\n".join(
        "\n".join(
            [
                f"@{known[key].kind}{{{key},",
                *(f"  {name} = {{{text}}}," for name, text in known[key].fields.items()),
                "}",
            ]
        )
        for key in sorted(keys)
    )
